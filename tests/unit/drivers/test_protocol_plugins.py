"""Protocols of plug-ins: found by entry point, never in place of the gateway's own, and a fault is told in the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from twin_gateway.drivers import registry
from twin_gateway.mapping.check import check

MAPPING = """\
mapping: 1
grid: dso1
place: north/PS01
devices:
  dev: {{protocol: {protocol}, host: 127.0.0.1, at: {{MV1/F05: {{points: {{MMXU1/Hz: {{register: 1}}}}}}}}}}
"""
Plugins = Callable[..., None]


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plugins]:
    """Installs a package whose module has this text, and these entry points."""

    def install(text: str, *points: str) -> None:
        folder = tmp_path / "site"
        described = folder / "other-1.0.dist-info"
        described.mkdir(parents=True)
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
        (described / "entry_points.txt").write_text("\n".join([f"[{registry.GROUP}]", *points, ""]))
        (folder / "other_protocol.py").write_text(text)
        monkeypatch.syspath_prepend(str(folder))
        forget()

    def forget() -> None:
        sys.modules.pop("other_protocol", None)
        registry.protocol.cache_clear()
        registry._plugins.cache_clear()

    yield install
    monkeypatch.undo()
    forget()


def problems_of(folder: Path, protocol: str) -> list[str]:
    path = folder / "m.yaml"
    path.write_text(MAPPING.format(protocol=protocol))
    return [str(problem) for problem in check([path], environ={})[1]]


COPY = """\
from dataclasses import replace
from twin_gateway.drivers.iec104.config import SPEC as KNOWN
SPEC = replace(KNOWN, name="{name}", scheme="{name}")
"""


def test_a_plug_in_is_a_protocol_of_mapping_files(plugins: Plugins, tmp_path: Path) -> None:
    plugins(COPY.format(name="other"), "other = other_protocol:SPEC")
    assert registry.protocol_names()[: len(registry.OWN_PROTOCOLS)] == registry.OWN_PROTOCOLS
    assert "other" in registry.protocol_names()
    assert registry.protocol("other").scheme == "other"
    assert not any("TG601" in text for text in problems_of(tmp_path, "other"))


def test_a_plug_in_does_not_replace_a_protocol_of_the_gateway(plugins: Plugins) -> None:
    plugins("raise AssertionError", "iec104 = other_protocol:SPEC")
    assert registry.protocol("iec104").driver == "twin_gateway.drivers.iec104.driver:Iec104Driver"
    assert registry.protocol_names().count("iec104") == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import a_package_that_is_not_there", "ModuleNotFoundError: No module named 'a_package_that_is_not_there'"),
        ("SPEC = 7", "is no declaration of that protocol: 7"),
        (COPY.format(name="another"), "is no declaration of that protocol: ProtocolSpec(name='another'"),
    ],
)
def test_a_plug_in_that_cannot_be_used_is_told_where_it_is_asked_for(
    plugins: Plugins, tmp_path: Path, text: str, why: str
) -> None:
    plugins(text, "other = other_protocol:SPEC")
    (problem,) = [text for text in problems_of(tmp_path, "other") if "TG601" in text]
    assert ":5:" in problem
    assert "plug-in other_protocol:SPEC for protocol other" in problem
    assert why in problem
    assert not any("TG601" in text for text in problems_of(tmp_path, "iec104")), "the others go on"


def test_what_a_file_with_a_plugin_comes_to_is_not_kept(
    plugins: Plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins(COPY.format(name="copied"), "copied = other_protocol:SPEC")
    monkeypatch.setattr("twin_gateway.mapping.check.KEPT", 0)
    path = tmp_path / "m.yaml"
    for protocol, kept in (("copied", 0), ("iec104", 1)):
        text = MAPPING.format(protocol=protocol).replace("register: 1", "ioa: 1, type: M_ME_TF_1, unit: Hz")
        path.write_text(text.replace("host:", "common_address: 1, host:"))
        mapping, problems = check([path], environ={}, processes=1, cache=tmp_path / "kept")
        assert mapping is not None, problems
        assert len(list((tmp_path / "kept").glob("*.result"))) == kept
