import pytest

from unshrink.errors import ConfigError
from unshrink.training import config


@pytest.fixture
def write(tmp_path):
    def write(text: str):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return path

    return write


def test_a_file_states_only_what_differs(write):
    read = config.load(write("[model]\nscale = 4\nblocks = [8, 8]\n[optim]\nlr = 1\n"))
    assert read.model.blocks == (8, 8)
    assert read.optim.lr == 1.0
    assert read.data == config.DataConfig()


def test_toml_out_and_in_is_the_same(write):
    run = {"folder": 'a "quoted" name', "max_time": 1.5}
    tree = {"data": {"train": ["a", "b c"], "shares": [0.9, 0.1]}, "run": run}
    made = config.from_dict(tree)
    assert config.load(write(config.to_toml(made))) == made
    assert config.from_dict(config.to_dict(made)) == made


def test_settings_of_the_command_line_win(write):
    path = write("[optim]\nlr = 1e-3\n")
    read = config.load(path, ["optim.lr=5e-4", "run.name=other", "model.blocks=[3]", "data.train=['x']"])
    assert (read.optim.lr, read.run.name, read.model.blocks, read.data.train) == (5e-4, "other", (3,), ("x",))


@pytest.mark.parametrize(
    "text, message",
    [
        ("[optim]\nlearning_rate = 1", "unknown key optim.learning_rate: known are name, lr"),
        ("[optim]\nschedul = 'linear'", "unknown key optim.schedul: did you mean optim.schedule?"),
        ("[optin]\nlr = 1", "unknown key optin: did you mean optim?"),
        ("[optim]\nlr = 'fast'", "optim.lr must be of type float, got 'fast'"),
        ("[data]\ntrain = 'photos'", "data.train must be a list, got 'photos'"),
        ("[data]\nbatch = true", "data.batch must be of type int, got True"),
        ("[data]\nbatch = 0", "data.batch is 0: must be at least 1"),
        ("[data]\ncrop = 63", "data.crop is 63: allowed are multiples of the scale 2"),
        ("[data]\ntrain = ['a']\nshares = [1, 2]", "2 numbers for 1 folders"),
        ("[optim]\nname = 'sgd'", "optim.name is 'sgd': allowed are adam, adamw, muon"),
        ("[optim]\nname = 'muons'", "optim.name is 'muons': did you mean muon? allowed are adam, adamw, muon"),
        ("[optim]\nschedule = 'cosin'", "optim.schedule is 'cosin': did you mean cosine? allowed are linear"),
        ("[run]\nname = 'My run'", "run.name is 'My run': allowed are up to 64 of a-z"),
        ("[optim]\naccumulate = 0", "optim.accumulate is 0: must be at least 1"),
        (
            "[loss]\nreconstruction = 'charbonier'",
            "'charbonier': did you mean charbonnier? allowed are charbonnier, l1",
        ),
        ("[loss]\nlumas = 1", "unknown key loss.lumas: did you mean loss.luma?"),
        (
            "[degradation]\nname = 'noisy'",
            "degradation.name is 'noisy': did you mean noise? allowed are none, noise, codecs, h264, recoding",
        ),
        ("[learned]\npatches = 1", "unknown key learned.patches: did you mean learned.patch?"),
        ("optim = 1", "optim must be a table, got 1"),
        ("[model]\nscale = 6", "model.scale is 6: allowed are"),
        ("not toml", "is not TOML"),
    ],
)
def test_mistakes_are_named(write, text, message):
    with pytest.raises(ConfigError) as error:
        config.load(write(text))
    assert message in str(error.value)


@pytest.mark.parametrize("override", ["lr=1", "optim.lr", "optim.=1"])
def test_a_malformed_override_is_refused(write, override):
    with pytest.raises(ConfigError, match=r"write section\.key=value"):
        config.load(write(""), [override])


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot read the configuration .*none\.toml: No such file"):
        config.load(tmp_path / "none.toml")
