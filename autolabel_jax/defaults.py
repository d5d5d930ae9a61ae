"""Makes the fields of a config with their defaults; each experiment changes what differs.

``python -m experiments.train --help`` lists them, with the settings of augmentations and rules.
"""

from ml_collections import ConfigDict

from autolabel_jax import augment, labels, losses, optimizer, registry
from autolabel_jax.datasets import texts


def base() -> ConfigDict:
    """Returns the fields that all experiments share."""
    config = ConfigDict()
    config.name = ""  # Name of the experiment, in result.json and tables
    config.seed = 0  # Seed of parameters, data order, augmentation and the calibration cut
    config.dataset = "cifar10"  # digits, sklearn/NAME, arrays, manifest, folder, TFDS, module:Class
    config.data_dir = ""  # Folder of the data sets, or manifest ('': as TFDS)
    config.train_examples = 0  # Use N training examples, calibration included (0 = all)
    config.test_examples = 0  # Use N test examples (0 = all)
    config.stream = False  # Read photographs as needed; dataset='folder' always does
    config.image_size = 224  # Side of streamed photographs, pixels
    config.data = ConfigDict()
    config.data.skip_unreadable = False  # Leave out image files that cannot be decoded
    config.data.decoder = "pillow"  # Decoder of streamed training photographs: pillow, or opencv
    config.data.train_labels = ""  # Labels to train on in place of the data's: FILE.npz:KEY
    config.data.clean_calibration = False  # … but calibration examples keep the data's
    config.data.kind = ""  # manifest: kind of the inputs ('': by the columns)
    config.data.columns = ""  # manifest: columns of features, by commas, or of texts
    config.data.max_words = texts.MAX_WORDS  # Text: largest number of words of the vocabulary
    config.data.max_tokens = texts.MAX_TOKENS  # Text: largest length of an input, tokens
    config.data.missing = "error"  # Missing values of a table: 'error', or 'mask': an indicator
    config.data.sample_rate = 0  # audio: resample to this rate, Hz (0: all files must have one)
    config.data.seconds = 0.0  # audio: length to pad or cut clips to (0 = the longest in training)
    config.data.peak = False  # audio: scale each clip to a largest absolute value of 1
    config.data.mel_bands = 40  # audio: number of mel bands
    config.data.window_ms = 32  # audio: length of a frame, milliseconds
    config.data.hop_ms = 16  # audio: time between frames, milliseconds
    config.loader_workers = 0  # Number of processes that decode streamed photographs (0 = threads)

    config.model = ConfigDict()
    config.model.name = "wide_resnet"  # Model: a row of models.TABLE, or module:Class
    config.model.depth = 28  # Number of layers of wide_resnet, 6n + 4
    config.model.width = 10  # Widening factor, channels of the first layer, or hidden units
    config.model.photograph_stem = False  # resnet18: 7 × 7 stem and max-pooling, as for ImageNet
    config.model.size = "tiny"  # vit: 'tiny', 'small' or 'base'
    config.model.patch = 16  # vit: side of a patch, pixels
    config.model.init_from = ""  # Pretrained weights: FILE.safetensors of torchvision or timm
    config.model.normalization = "auto"  # Mean and std of inputs: 'data', 'imagenet' or 'half'
    config.model.freeze_batch_norm = False  # Keep the running statistics, and train with them
    config.dtype = "float32"  # Type of activations: 'float32' or 'bfloat16'; parameters are float32

    config.epochs = 200  # Number of training epochs
    config.batch_size = 128  # Training batch size, over all devices
    config.accumulate = 1  # Split each batch into this many parts, computed one after another
    config.class_weights = "none"  # In the loss: 'none', 'balanced', or numbers: '1,2.5' by class
    config.example_weights = "none"  # In the loss: 'none', or 'reweight' by held-out examples
    config.eval_batch_size = 1000  # Batch size of calibration and evaluation, over all devices

    config.crop_pad = 4  # Zero padding before random crops in training, pixels (0 = no crop)
    config.flip = True  # Flip training images at random

    config.augment = ConfigDict()
    config.augment.name = "augmix"  # Augmentation: a row of augment.TABLE, or module:Class
    config.augment.update(registry.defaults(augment.TABLE))  # settings of all augmentations

    config.buckets = ConfigDict()
    config.buckets.num = 10  # Number of intervals of the distance, in each group
    config.buckets.edges = "equal_width"  # Intervals: 'equal_width', 'equal_mass' or 'kmeans'
    config.buckets.calibration_edges = ""  # Intervals of held-out distances; '': as buckets.edges

    config.labels = ConfigDict()
    config.labels.rule = "autolabel"  # Label rule: a row of labels.TABLE, or module:Class
    config.labels.update_every = 1  # Number of epochs between updates of the labels
    config.labels.warmup_epochs = 0  # Number of epochs before the first update of the labels
    config.labels.update(registry.defaults(labels.TABLE))  # settings of all rules

    config.loss = ConfigDict()
    config.loss.name = "cross_entropy"  # Training loss: a row of losses.TABLE, or module:Class
    config.loss.update(registry.defaults(losses.TABLE))  # settings of all losses

    config.calibration = ConfigDict()
    config.calibration.fraction = 0.1  # Fraction of the training split that is held out
    config.calibration.source = "heldout"  # 'heldout', or 'train': calibrate on training examples
    config.calibration.images = 0  # Largest number of calibration examples (0 = no limit)
    config.calibration.exact = False  # Evaluate each example in each bucket (False = some in turn)
    config.calibration.share = 0.1  # Not exact: number of evaluations per training example
    config.calibration.images_per_update = 0  # Exact: number of examples in each update (0 = all)
    config.calibration.beyond = False  # Measure distances beyond training's at the end
    config.calibration.beyond_every = 0  # … also after every N-th epoch (0 = only at the end)
    config.calibration.num_bins = 15  # Number of confidence bins of the calibration error

    config.optimizer = ConfigDict()
    config.optimizer.name = "sgd"  # Optimiser: a row of optimizer.TABLE, or module:Class
    config.optimizer.learning_rate = 0.1  # Learning rate after the warm-up, for the whole batch
    config.optimizer.schedule = "cosine"  # Schedule of the learning rate: 'cosine' to 0, or 'step'
    config.optimizer.warmup_epochs = 1.0  # Number of epochs of linear warm-up from 0
    config.optimizer.boundaries = (0.3, 0.6, 0.8)  # step: fractions of the epochs at each drop
    config.optimizer.decay = 0.2  # step: factor of the learning rate at each boundary
    config.optimizer.weight_decay = 5e-4  # sgd: λ of λ/2·‖w‖² in the loss; others: decoupled λ
    config.optimizer.decay_kernels_only = False  # Do not decay biases and batch norm
    config.optimizer.backbone_scale = 1.0  # Factor of the learning rate of all but the head
    config.optimizer.layer_decay = 1.0  # … and once more per layer away from the head
    config.optimizer.ema = 0.0  # Decay of the moving average of parameters (0 = none)
    config.optimizer.update(registry.defaults(optimizer.TABLE))  # settings of all optimisers

    config.checkpoint = ConfigDict()
    config.checkpoint.keep = 2  # Number of checkpoints that are kept
    config.checkpoint.every_epochs = 1  # Number of epochs between checkpoints
    config.checkpoint.best = False  # Use the checkpoint of the lowest calibration NLL, not the last
    config.checkpoint.patience = 0  # best: stop after N epochs without a lower one (0 = never)
    return config


def tiny(config: ConfigDict) -> ConfigDict:
    """Changes an experiment to one of about a minute on two CPU cores, and returns it."""
    config.name += "_tiny"
    config.train_examples = 1200
    config.test_examples = 500
    config.model.name = "small_cnn"
    config.model.init_from = ""
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
    """Returns the config that ``--config=file.py:arg`` asks for.

    Raises:
      ValueError: arg is neither empty nor 'tiny'.
    """
    if arg in (None, ""):
        return config
    if arg == "tiny":
        return tiny(config)
    raise ValueError(f"--config=…:{arg}: got {arg!r}, expected 'tiny'")
