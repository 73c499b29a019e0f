"""Files that others publish: their names, addresses and checksums."""

from dataclasses import dataclass

OFFICIAL = "http://host.robots.ox.ac.uk/pascal/VOC"
MIRROR = "https://thor.robots.ox.ac.uk/pascal/VOC"


@dataclass(frozen=True)
class Published:
    """A file, the addresses that offer it, and its SHA-256, or the first digits of it, if known."""

    name: str
    urls: tuple[str, ...]
    sha256: str | None


def _voc(year: int, name: str, sha256: str) -> Published:
    return Published(name, tuple(f"{base}/voc{year}/{name}" for base in (OFFICIAL, MIRROR)), sha256)


# Everingham et al., The PASCAL Visual Object Classes Challenge 2007 and 2012. VOC2012's test annotations are secret.
VOC = {
    "voc2007": (
        _voc(2007, "VOCtrainval_06-Nov-2007.tar", "7d8cd951101b0957ddfd7a530bdc8a94f06121cfc1e511bb5937e973020c7508"),
        _voc(2007, "VOCtest_06-Nov-2007.tar", "6836888e2e01dca84577a849d339fa4f73e1e4f135d312430c4856b5609b4892"),
    ),
    "voc2012": (
        _voc(2012, "VOCtrainval_11-May-2012.tar", "e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb"),
    ),
}

# Simonyan and Zisserman's VGG-16 converted from Caffe, the start of the published Faster R-CNN.
CAFFE_VGG16 = Published(
    "vgg16_caffe.pth",
    ("https://zenodo.org/records/4515252/files/vgg16_caffe.pth?download=1",),
    "736b4bd0b787438253ea1926f9a02730b2eedbf0e48df243457d17133fe8850e",
)
