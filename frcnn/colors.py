"""Colors of the classes in pictures and plots, told apart by color-blind readers, too."""

Color = tuple[int, int, int]  # red, green, blue of sRGB, 0..255
WHITE, BLACK, YELLOW = (255, 255, 255), (0, 0, 0), (240, 228, 66)
# The first six and the last, which is pale on white, are Okabe and Ito's (Color Universal Design, 2008), without black.
# Of colors that are not too dark, light or gray, each of the others is the farthest from those chosen before it, by the
# smallest distance in CIELAB with normal vision, protanopia and deuteranopia (Machado et al. 2009).
PALETTE: list[Color] = [
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (204, 121, 167), (86, 180, 233), (213, 94, 0), (0, 0, 255),
    (120, 30, 15), (105, 105, 255), (90, 45, 75), (120, 225, 135), (60, 30, 165), (225, 0, 75), (255, 180, 195),
    (105, 150, 255), (120, 30, 120), (180, 165, 75), (60, 105, 60), (45, 60, 225), YELLOW,
]  # fmt: skip


def class_color(label: int) -> Color:
    """Return the color of a class 1..C; it depends on nothing but the label, and that of 21 is that of 1 again."""
    return PALETTE[(label - 1) % len(PALETTE)]


def readable_on(color: Color) -> Color:
    """Return black or white, whichever is read better on a color."""
    red, green, blue = color
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
