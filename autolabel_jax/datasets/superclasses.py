"""Defines superclasses of data sets: 20 in CIFAR-100, with five classes each.

Krizhevsky (2009), "Learning Multiple Layers of Features from Tiny Images", and
https://www.cs.toronto.edu/~kriz/cifar.html; the numbers of classes and superclasses
are those of the official files, where both are in alphabetical order.
"""

import numpy as np

CIFAR100 = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


def of(name: str) -> np.ndarray | None:
    """Returns the superclass of each class, int32 [K]; None if the data set has no superclasses.

    Args:
      name: name of the data set in TFDS, such as 'cifar100' or 'cifar100:3.0.2'.
    """
    if name.split(":")[0] != "cifar100":
        return None
    number = {word: i for i, words in enumerate(CIFAR100.values()) for word in words.split()}
    return np.array([number[word] for word in sorted(number)], np.int32)
