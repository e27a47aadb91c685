"""smartxd.toml and center.toml: every field is documented, every mistake is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from smartxd import config
from smartxd.center.config import SiteConfig
from smartxd.errors import ConfigError

DOCS = Path(__file__).parents[1] / "docs" / "configuration.md"
FILES: dict[str, dict[str, type[BaseModel]]] = {
    "smartxd.toml": {
        "": config.Config,
        "source.": config.SourceConfig,
        "frr.": config.FRRConfig,
        "capture.": config.CaptureConfig,
        "center.": config.CenterConfig,
    },
    "center.toml": {"": SiteConfig},
}


def fields(file: str) -> dict[str, object]:
    """The default of each field of a file, by name."""
    sections = FILES[file]
    named = {p + n: f.default for p, model in sections.items() for n, f in model.model_fields.items()}
    return {name: default for name, default in named.items() if f"{name}." not in sections}


def documented(file: str) -> dict[str, str]:
    """What the document says is the default of each field of a file, by name."""
    _, _, rest = DOCS.read_text().partition(f"\n## {file}\n")
    rows = [line.split("|") for line in rest.partition("\n## ")[0].splitlines() if line.startswith("| `")]
    return {row[1].strip(" `"): row[2].strip(" `") for row in rows}


@pytest.mark.parametrize("file", FILES)
def test_exactly_the_fields_of_the_file_are_documented(file: str) -> None:
    assert sorted(documented(file)) == sorted(fields(file))


@pytest.mark.parametrize(("file", "name"), [(file, name) for file in FILES for name in fields(file)])
def test_the_default_of_every_field_is_documented(file: str, name: str) -> None:
    said, default = documented(file)[name], fields(file)[name]
    if isinstance(default, float | int):
        assert float(said) == default
    elif default in (None, ()):
        assert said == "none"
    elif default is PydanticUndefined:
        assert said.startswith("required")
    else:
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
