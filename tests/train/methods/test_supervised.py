"""The supervised method leaves unlabelled bursts aside."""

from smarthdr_cli.train.methods.supervised import Supervised


def test_unlabelled_crops_teach_nothing(config_of, crops):
    method = Supervised(config_of(method="supervised"))
    assert not method.uses_unlabeled
    assert method.first_unlabeled == method.config.iterations
    assert method.targets(crops, None, None) is None
    assert method.statistics() == {}
