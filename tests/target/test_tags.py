import subprocess
import sys

import pytest
from tvm.target import Target

from tvm_pulp.runtime.sim import Configuration
from tvm_pulp.target import features, parse
from tvm_pulp.target.tags import register, simulator_configuration, tag_features, tag_names


@pytest.mark.parametrize("tag", ["pulp", "pulp-open", "pulp-open-bankconf", "vega", "siracusa"])
def test_tvm_knows_the_tags(tag):
    register()
    target = Target(tag)
    assert target.kind.name == "c"
    assert "pulp" in target.keys
    assert target.features.cores == 8
    assert tag in tag_names()


def test_options_override_a_tag_in_tvm_itself():
    register()
    assert Target({"tag": "pulp", "feature.l1_bytes": 131072}).features.l1_bytes == 131072


def test_tags_are_the_configurations_of_the_simulator():
    assert sorted({tag_features(tag)["tag"] for tag in tag_names()}) == Configuration.names()


@pytest.mark.parametrize("tag", Configuration.names())
def test_features_and_configuration_are_the_same(tag):
    chip = features(parse(tag))
    configuration = Configuration.named(tag)
    assert Configuration.from_dict(chip.simulator_configuration()) == configuration
    assert chip.l3_bytes == configuration.l3_bytes == 8 << 20


def test_an_unknown_chip_has_no_configuration():
    with pytest.raises(KeyError):
        simulator_configuration("pulpissimo")


def test_import_of_errors_does_not_load_tvm():
    code = "import sys, tvm_pulp.target.errors; sys.exit('tvm' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
