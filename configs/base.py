"""Every field that a config has, with its default; the experiments change what differs."""

from ml_collections import ConfigDict

from autolabel_jax import augment, labels, registry


def base() -> ConfigDict:
    """The fields that all experiments share."""
    config = ConfigDict()
    config.name = ""  # of the experiment, in result.json and tables
    config.seed = 0
    config.dataset = "cifar10"  # 'digits', 'arrays', 'folder', or an image set of TFDS
    config.data_dir = ""  # --data_dir; '' is $TFDS_DATA_DIR, or TFDS's own default
    config.train_examples = 0  # the first so many of the split, calibration included; 0: all
    config.test_examples = 0  # the first so many of the test split; 0: all
    config.stream = False  # read photographs as they are needed; dataset='folder' always does
    config.image_size = 224  # streamed: side in pixels of the squares that they become
    config.loader_workers = 0  # streamed: processes that decode; 0: threads of this one

    config.model = ConfigDict()
    config.model.name = "wide_resnet"  # 'wide_resnet', 'resnet18', 'resnet50', 'small_cnn', 'mlp'
    config.model.depth = 28  # wide_resnet: 6n + 4
    config.model.width = 10  # widening factor, or channels of the first layer
    config.dtype = "float32"  # of activations: 'float32' or 'bfloat16'; parameters are float32

    config.epochs = 200
    config.batch_size = 128  # global, over all devices
    config.accumulate = 1  # parts of a batch, one after another, that a smaller device fits
    config.eval_batch_size = 1000  # global

    config.crop_pad = 4  # pixels of zero padding before a random crop in training; 0: no crop
    config.flip = True  # random horizontal flips in training

    config.augment = ConfigDict()
    config.augment.name = "augmix"  # row of augment.TABLE, or module:Class
    config.augment.update(registry.defaults(augment.TABLE))  # settings of all of them

    config.buckets = ConfigDict()
    config.buckets.num = 10  # intervals of the distance, in each group (augmix: chain depth)
    config.buckets.edges = "equal_width"  # 'equal_width', 'equal_mass', 'kmeans'
    config.buckets.calibration_edges = ""  # of the held-out side; '': the same as edges

    config.labels = ConfigDict()
    config.labels.rule = "autolabel"  # row of labels.TABLE, or module:Class
    config.labels.update_every = 1  # epochs between updates
    config.labels.warmup_epochs = 0  # epochs before the first update
    config.labels.update(registry.defaults(labels.TABLE))  # settings of all of them

    config.calibration = ConfigDict()
    config.calibration.fraction = 0.1  # of the training split, cut away by seed
    config.calibration.source = "heldout"  # 'heldout', or 'train': measure on the training images
    config.calibration.images = 0  # at most so many; 0: all that fraction or source give
    config.calibration.images_per_update = 0  # drawn anew for each update; 0: all
    config.calibration.num_bins = 15

    config.optimizer = ConfigDict()
    config.optimizer.learning_rate = 0.1  # at the end of the warm-up, for the global batch
    config.optimizer.schedule = "cosine"  # 'cosine' to 0, or 'step'
    config.optimizer.warmup_epochs = 1.0  # linear from 0
    config.optimizer.boundaries = (0.3, 0.6, 0.8)  # step: shares of the epochs
    config.optimizer.decay = 0.2  # step: factor at each boundary
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 5e-4  # λ of λ/2·‖w‖² in the loss
    config.optimizer.decay_kernels_only = False  # leave biases and batch norm undecayed
    config.optimizer.ema = 0.0  # decay of the average of parameters; 0: none

    config.checkpoint = ConfigDict()
    config.checkpoint.keep = 2  # the last so many
    config.checkpoint.every_epochs = 1
    return config


def tiny(config: ConfigDict) -> ConfigDict:
    """The same experiment in about a minute on two CPU cores."""
    config.name += "_tiny"
    config.train_examples = 1200
    config.test_examples = 500
    config.model.name = "small_cnn"
    config.model.width = 8
    config.dtype = "float32"
    config.epochs = 3
    config.batch_size = 64
    config.image_size = min(config.image_size, 64)
    config.loader_workers = min(config.loader_workers, 2)
    config.eval_batch_size = 500
    config.buckets.num = min(config.buckets.num, 3)
    config.augment.num_steps = 2
    config.optimizer.warmup_epochs = min(config.optimizer.warmup_epochs, 1.0)
    return config


def variant(config: ConfigDict, arg: str | None) -> ConfigDict:
    """The config that ``--config=file.py:arg`` asks for.

    Raises:
      ValueError: arg is neither empty nor 'tiny'.
    """
    if arg in (None, ""):
        return config
    if arg == "tiny":
        return tiny(config)
    raise ValueError(f"--config=…:{arg}: got {arg!r}, known is 'tiny'")
