"""The pictures and calibration figures of the report, from a repository where the pipeline was run."""

import base64
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from stack_processes import ROOT, Facility

PICTURES = ROOT / "examples" / "full-chain" / "report" / "pictures.py"


def rows_of(png: str) -> tuple[int, int, list[bytes]]:
    """Width, height and rows of a PNG as base64; fails unless each of its chunks is whole."""
    data = base64.b64decode(png)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks: dict[bytes, bytes] = {}
    place = 8
    while place < len(data):
        (length,) = struct.unpack(">I", data[place : place + 4])
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(name + body)
        chunks[name] = body
        place += 12 + length
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert depth == 8
    line = 1 + width * (3 if colour == 2 else 1)
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert len(pixels) == height * line
    lines = [pixels[i : i + line] for i in range(0, len(pixels), line)]
    assert all(each[0] == 0 for each in lines)
    return width, height, [each[1:] for each in lines]


def made(facility: Facility, out: Path, *collections: str) -> dict[str, Any]:
    """What the program wrote."""
    done = facility.run(
        PICTURES,
        *("--repo", facility.repo, "--truth", facility.truth, "--out", out),
        *("--collection", *collections),
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def test_pictures_and_residuals_of_a_processed_sky(processed: Facility, tmp_path: Path) -> None:
    """Residuals within their errors, a coadd with less noise than its exposure, pictures that are
    PNGs and not blank."""
    told = made(processed, tmp_path / "pictures.json", "DemoCam/defaults", "u/all")
    assert told["missing"] == []
    calibration = told["calibration"]
    assert [each["visit"] for each in calibration["visits"]] == [1001, 1002, 1003, 1004]
    assert all(abs(each["difference"]) < 5 * each["error"] for each in calibration["visits"])
    assert calibration["chi2_per_dof"] < 6
    coadd = told["coadd"]
    single, deep = coadd["images"]
    assert deep["depth"] > 1
    assert deep["gain"] == pytest.approx(single["noise"] / deep["noise"])
    assert 0.6 * deep["depth"] ** 0.5 < deep["gain"] < 1.4 * deep["depth"] ** 0.5
    spreads = []
    for image in (single, deep):
        width, height, rows = rows_of(image["png"])
        assert (width, height) == (image["width"], image["height"])
        values = sorted(b"".join(rows))
        spreads.append(values[int(0.6 * len(values))] - values[int(0.1 * len(values))])
        assert values[-1] > 200, "no star is bright"
    assert spreads[1] < spreads[0], "the coadd's sky is no smoother than the exposure's"
    assert len(told["sky"]["tracts"]) == 2
    rows_of(told["sky"]["depth"]["png"])


def test_what_is_not_there_is_named(sky: Facility, tmp_path: Path) -> None:
    """A repository without results: only the survey's depth, and what is missing."""
    told = made(sky, tmp_path / "pictures.json", "DemoCam/defaults")
    assert [each.partition(":")[0] for each in told["missing"]] == ["calibration", "coadd"]
    assert told["sky"]["depth"]["most"] >= 2


def test_a_collection_that_does_not_exist_is_refused(sky: Facility, tmp_path: Path) -> None:
    """A wrong name is told in one line, and no file is left."""
    out = tmp_path / "pictures.json"
    words = ("--repo", sky.repo, "--truth", sky.truth, "--out", out, "--collection", "no/such")
    done = sky.run(PICTURES, *words)
    assert done.returncode == 2
    assert "no/such" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.exists()
