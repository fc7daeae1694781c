"""Colours that people with colour blindness can tell apart (Okabe and Ito 2008), for pictures and pages."""

BLUE, ORANGE, GREEN, RED, PURPLE, SKY, YELLOW, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#F0E442",
    "#666666",
)
SIZE_BANDS = ("#F2F2F2", "#DDE7EE", "#BFD3E0")
"""Backgrounds of the bands small, moderate and large."""
