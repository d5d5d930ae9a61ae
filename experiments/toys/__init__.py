"""What ``experiments.toy`` is made of: a problem with a known answer, trained and measured."""
