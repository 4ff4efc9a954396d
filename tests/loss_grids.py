"""Grids with meters for the tests of losses: a small one of our own, and the European low-voltage feeder."""

from __future__ import annotations

import io
import tarfile

import numpy as np
from reference_grids import european_low_voltage, reference

from twin_gateway.grid.model import (
    CimClass,
    ConnectivityNode,
    Equipment,
    Feeder,
    Grid,
    LineData,
    LoadData,
    Meter,
    MeterRole,
    SourceData,
    SwitchRating,
    TransformerData,
)

P = "g/a"
BUS = f"{P}/PS01/MV1/_/CN1"
LEFT, RIGHT, TIE = f"{P}/RMU1/MV1/C01/QB1", f"{P}/RMU2/MV1/C01/QB1", f"{P}/RMU2/MV1/C02/QB1"
HEADS = [f"{P}/PS01/MV1/F01/QA1", f"{P}/PS01/MV1/F02/QA1"]
HEAD_METERS = [f"{P}/PS01/MV1/F0{k}/M0" for k in (1, 2)]


def customer(transformer: int, number: int) -> str:
    """Address of a customer's meter."""
    return f"{P}/SP{transformer}{number}/LV1/_/M1"


def two_feeders(customers: int = 3, *, hv_meter: bool = False, ohm: float = 0.05) -> Grid:
    """Two feeders from one busbar, each to a ring-main unit with a transformer and customers; a tie between them.

    RMU2 hangs on feeder 2 by its switch C01 and on RMU1 by C02 (the tie, normally open).
    """
    grid = Grid()
    for node in (BUS, *(f"{P}/{site}/MV1/_/{cn}" for site in ("L1", "L2", "L3") for cn in ("CN1", "CN2"))):
        grid.add([ConnectivityNode(node, 12_660.0)])
    for k in (1, 2):
        grid.add([ConnectivityNode(f"{P}/RMU{k}/MV1/_/CN1", 12_660.0), ConnectivityNode(f"{P}/TS{k}/LV1/_/CN1", 400.0)])
    grid.add([Equipment(f"{P}/PS01/MV1/_/SRC1", CimClass.SOURCE, (BUS,), SourceData())])
    switches = [
        (HEADS[0], BUS, "L1/MV1/_/CN1", False, CimClass.BREAKER),
        (HEADS[1], BUS, "L2/MV1/_/CN1", False, CimClass.BREAKER),
        (LEFT, f"{P}/L1/MV1/_/CN2", "RMU1/MV1/_/CN1", False, CimClass.LOAD_BREAK_SWITCH),
        (RIGHT, f"{P}/L2/MV1/_/CN2", "RMU2/MV1/_/CN1", False, CimClass.LOAD_BREAK_SWITCH),
        (f"{P}/RMU1/MV1/C02/QB1", f"{P}/RMU1/MV1/_/CN1", "L3/MV1/_/CN1", False, CimClass.LOAD_BREAK_SWITCH),
        (TIE, f"{P}/L3/MV1/_/CN2", "RMU2/MV1/_/CN1", True, CimClass.LOAD_BREAK_SWITCH),
    ]
    for address, begin, end, is_open, cim_class in switches:
        rating = SwitchRating(normal_open=is_open, position=f"{address}/XSWI1/Pos")
        grid.add([Equipment(address, cim_class, (begin, f"{P}/{end}"), rating)])
    for k in (1, 2, 3):
        ends = (f"{P}/L{k}/MV1/_/CN1", f"{P}/L{k}/MV1/_/CN2")
        grid.add([Equipment(f"{P}/L{k}/MV1/_/WB1", CimClass.LINE, ends, LineData(0.8, 0.4))])
    for k in (1, 2):
        transformer = f"{P}/TS{k}/MV1/T01/TA1"
        data = TransformerData(12_660.0, 400.0, 400e3, 0.04, 4600.0, p0=610.0)
        bar = f"{P}/TS{k}/LV1/_/CN1"
        grid.add([Equipment(transformer, CimClass.TRANSFORMER, (f"{P}/RMU{k}/MV1/_/CN1", bar), data)])
        grid.meters[HEAD_METERS[k - 1]] = Meter(
            HEAD_METERS[k - 1], HEADS[k - 1], MeterRole.BOUNDARY, terminal=1, accuracy_class=0.5
        )
        grid.meters[f"{P}/TS{k}/LV1/_/M0"] = Meter(
            f"{P}/TS{k}/LV1/_/M0", transformer, MeterRole.BOUNDARY, terminal=2, accuracy_class=0.5
        )
        if hv_meter:
            grid.meters[f"{P}/TS{k}/MV1/T01/M0"] = Meter(
                f"{P}/TS{k}/MV1/T01/M0", transformer, MeterRole.BOUNDARY, terminal=1, accuracy_class=0.5
            )
        for number in range(1, customers + 1):
            site = f"{P}/SP{k}{number}/LV1"
            grid.add([ConnectivityNode(f"{site}/_/CN1", 400.0)])
            grid.add(
                [
                    Equipment(f"{site}/_/WD1", CimClass.LINE, (bar, f"{site}/_/CN1"), LineData(ohm, ohm / 5)),
                    Equipment(f"{site}/_/LD1", CimClass.LOAD, (f"{site}/_/CN1",), LoadData(2000.0, 600.0, customers=1)),
                ]
            )
            meter = customer(k, number)
            grid.meters[meter] = Meter(meter, f"{site}/_/LD1", phases="ABC"[number % 3], transformer=transformer)
    for k in (1, 2):
        grid.feeders[f"{P}/PS01/MV1/F0{k}"] = Feeder(f"{P}/PS01/MV1/F0{k}", HEADS[k - 1])
    return grid


def european_with_meters() -> Grid:
    """The European feeder with a class 0.5 meter at the transformer's secondary and a class 1 meter at every load."""
    grid, _ = european_low_voltage()
    transformer = next(grid.of(CimClass.TRANSFORMER))
    site = "g/a/T/LV1/_/M0"
    grid.meters[site] = Meter(site, transformer.address, MeterRole.BOUNDARY, terminal=2, accuracy_class=0.5)
    for load in grid.of(CimClass.LOAD):
        meter = load.address.replace("/LD1", "/M1")
        grid.meters[meter] = Meter(meter, load.address, phases=load.phases, transformer=transformer.address)
    return grid


def european_days(days: int, minutes: int, seed: int = 3) -> np.ndarray:
    """W of the 55 loads, shape (samples, 55): every day of every load is one of the feeder's hundred day profiles.

    A day is moved by up to 40 minutes and scaled by up to a fifth, so that no two customers are alike.
    """
    with tarfile.open(reference("grids/dss_european_lv.tar.gz")) as archive:
        texts = []
        for number in range(1, 101):
            member = archive.extractfile(f"LVTestCase/Daily_1min_100profiles/load_profile_{number}.txt")
            assert member is not None
            texts.append(np.loadtxt(io.BytesIO(member.read())) * 1e3)
    rng = np.random.default_rng(seed)
    result = np.empty((days, 1440, 55))
    for day in range(days):
        for at in range(55):
            result[day, :, at] = np.roll(texts[rng.integers(100)], rng.integers(-40, 41)) * rng.uniform(0.8, 1.2)
    return result.reshape(days * 1440 // minutes, minutes, 55).mean(axis=1)
