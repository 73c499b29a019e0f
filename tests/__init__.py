"""What several tests share is in factories.py, flat_detections.py, foreign_weights.py, structure.py and conftest.py."""
