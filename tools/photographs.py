"""Sorts the photographs of imagenet-sample-images into ten groups, for dataset='folder'.

    git clone --depth=1 https://github.com/EliSchwartz/imagenet-sample-images
    python -m tools.photographs imagenet-sample-images photographs

The repository has one photograph of each of ImageNet's 1,000 classes; 664 of them are in a group.
In each group every second one is in train/, the others in val/. Photographs are cut as usual for
ImageNet: the shorter side to 256 pixels, then the middle 224 × 224.
"""

import argparse
import pathlib

from PIL import Image

SHORTER, SIDE = 256, 224
# Numbers of ImageNet's classes, which are in the order of their WordNet identifiers.
GROUPS = {
    "bird": "7-24 80-100 127-146",
    "dog": "151-268",
    "fish": "0-6 389-397",
    "food": "924-969",
    "invertebrate": "69-79 107-126 300-329",
    "landscape": "970-980",
    "other_mammal": "102-106 269-299 330-388",
    "reptile_amphibian": "25-68",
    "vehicle": "403-404 407-408 436 444 450 466 468 472 510-511 547 554-555 561 565 569-570 573 "
    "576 586 603 609 612 621 625 627-628 654 656 660-661 665 670-671 675 690 705 717 724 734 751 "
    "757 779-780 791 802-803 814 817 820 829 833 847 856 864 866-867 871 874 880 895 914",
}
OTHERS, FIRST, MOST = "thing", 398, 150  # the first things that are not vehicles


def members() -> dict[str, list[int]]:
    """Returns the numbers of the classes of each group."""
    groups = {}
    for name, text in GROUPS.items():
        bounds = [tuple(map(int, part.split("-"))) for part in text.split()]
        groups[name] = [i for bound in bounds for i in range(bound[0], bound[-1] + 1)]
    taken = {i for numbers in groups.values() for i in numbers}
    return groups | {OTHERS: [i for i in range(FIRST, 924) if i not in taken][:MOST]}


def main(argv: list[str] | None = None) -> None:
    """Writes the folder."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=pathlib.Path, help="folder of n01440764_tench.JPEG …")
    parser.add_argument("target", type=pathlib.Path, help="folder to write")
    options = parser.parse_args(argv)
    paths = sorted(options.source.glob("n????????_*.JPEG"))
    if len(paths) != 1000:
        parser.error(f"{options.source}: has {len(paths)} photographs n*.JPEG, expected 1000")
    for group, numbers in members().items():
        for place, number in enumerate(numbers):
            folder = options.target / ("val" if place % 2 else "train") / group
            folder.mkdir(parents=True, exist_ok=True)
            image = Image.open(paths[number]).convert("RGB")
            scale = SHORTER / min(image.size)
            size = tuple(max(SHORTER, round(scale * side)) for side in image.size)
            left, top = ((side - SIDE) // 2 for side in size)
            image = image.resize(size, Image.Resampling.LANCZOS)
            middle = image.crop((left, top, left + SIDE, top + SIDE))
            middle.save(folder / f"{number:03d}.jpg", quality=85, subsampling=0)


if __name__ == "__main__":
    main()
