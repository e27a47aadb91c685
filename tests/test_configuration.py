"""smartxd.toml: every field is documented, every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel

from smartxd import config
from smartxd.errors import ConfigError

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"
SECTIONS: dict[str, type[BaseModel]] = {
    "source.": config.SourceConfig,
    "frr.": config.FRRConfig,
    "capture.": config.CaptureConfig,
    "center.": config.CenterConfig,
}


def fields() -> list[tuple[str, object]]:
    own = [(n, f.default) for n, f in config.Config.model_fields.items() if f"{n}." not in SECTIONS]
    return own + [(p + n, f.default) for p, m in SECTIONS.items() for n, f in m.model_fields.items()]


@pytest.mark.parametrize(("name", "default"), fields())
def test_every_field_and_its_default_is_documented(name: str, default: object) -> None:
    (row,) = [line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{name}` |")]
    said = row.split("|")[2].strip(" `")
    if isinstance(default, float | int):
        assert float(said) == default
    elif default is None:
        assert said == "none"
    elif "required" not in said:
        assert said == str(default)


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "smartxd.toml"
    path.write_text('box = "gist1"\n[source]\nurl = "/srv/site.git"\n')
    assert config.load(path).socket == Path("/run/smartxd/smartxd.sock")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('box = "a"\n', "source: Field required"),
        ('bxo = "a"\n[source]\nurl = "/x"\n', "bxo: Extra inputs are not permitted"),
        (
            'box = "a"\n[source]\nurl = "/x"\ntimeout_s = 0\n',
            "source.timeout_s: Input should be greater than 0",
        ),
        ("box = \n", "not TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "smartxd.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert message in caught.value.message
    assert caught.value.message.startswith(str(path))


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        config.load(tmp_path / "none.toml")
