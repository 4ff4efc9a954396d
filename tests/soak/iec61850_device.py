"""An IED on libiec61850 with a buffered report block, that keeps a ledger; shares no code with the driver."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import tempfile
import time
from pathlib import Path

import numpy as np
from integration.iec61850.libiec61850_server import Configuration
from pace import TICK_S, begin, obey, ready

BUFFER = 64 << 20


def scl(points: int) -> str:
    """One GGIO with `points` measured values, all in the data set of one buffered report block."""
    numbers = range(1, points + 1)
    members = "".join(f'<FCDA ldInst="LD0" lnClass="GGIO" lnInst="1" doName="AnIn{n}" fc="MX"/>' for n in numbers)
    objects = "".join(f'<DO name="AnIn{n}" type="MV"/>' for n in numbers)
    return (
        '<SCL xmlns="http://www.iec.ch/61850/2003/SCL" version="2007" revision="B"><Header id="SOAK"/><IED name="SOAK">'
        '<AccessPoint name="P1"><Server><LDevice inst="LD0"><LN0 lnClass="LLN0" inst="" lnType="LLN0">'
        f'<DataSet name="All">{members}</DataSet>'
        '<ReportControl name="brAll" rptID="soak" datSet="All" confRev="1" buffered="true" bufTime="20" intgPd="0"'
        ' indexed="true"><TrgOps dchg="true" qchg="true" period="true" gi="true"/><OptFields/><RptEnabled max="2"/>'
        '</ReportControl></LN0><LN lnClass="GGIO" inst="1" lnType="GGIO"/></LDevice></Server></AccessPoint></IED>'
        '<DataTypeTemplates><LNodeType id="LLN0" lnClass="LLN0"><DO name="Beh" type="ENS"/></LNodeType>'
        f'<LNodeType id="GGIO" lnClass="GGIO">{objects}</LNodeType>'
        '<DOType id="ENS" cdc="ENS"><DA name="stVal" bType="INT32" fc="ST" dchg="true"/>'
        '<DA name="q" bType="Quality" fc="ST" qchg="true"/><DA name="t" bType="Timestamp" fc="ST"/></DOType>'
        '<DOType id="MV" cdc="MV"><DA name="mag" bType="Struct" type="Value" fc="MX" dchg="true"/>'
        '<DA name="q" bType="Quality" fc="MX" qchg="true"/><DA name="t" bType="Timestamp" fc="MX"/></DOType>'
        '<DAType id="Value"><BDA name="f" bType="FLOAT32"/></DAType></DataTypeTemplates></SCL>'
    )


def library() -> ctypes.CDLL:
    """libiec61850 itself: its Python binding insists on TLS where a server is given settings."""
    found = importlib.util.find_spec("pyiec61850")
    assert found is not None and found.origin is not None
    (path,) = (Path(found.origin).parents[1] / "pyiec61850_ng.libs").glob("libiec61850-*")
    lib = ctypes.CDLL(str(path))
    for name in ("ConfigFileParser_createModelFromConfigFileEx", "IedModel_getModelNodeByObjectReference",
                 "IedServerConfig_create", "IedServer_createWithConfig"):  # fmt: skip
        getattr(lib, name).restype = ctypes.c_void_p
    lib.IedServer_isRunning.restype = ctypes.c_bool
    return lib


def main() -> None:
    given, ledger, pace = begin()
    lib = library()
    with tempfile.TemporaryDirectory() as folder:
        path, text = os.path.join(folder, "soak.cid"), os.path.join(folder, "soak.cfg")
        with open(path, "w") as file:
            file.write(scl(given.points))
        with open(text, "w") as file:
            file.write(Configuration(path).write())
        model = ctypes.c_void_p(lib.ConfigFileParser_createModelFromConfigFileEx(text.encode()))
    settings = ctypes.c_void_p(lib.IedServerConfig_create())
    lib.IedServerConfig_setReportBufferSize(settings, BUFFER)
    server = ctypes.c_void_p(lib.IedServer_createWithConfig(model, None, settings))
    lib.IedServer_setLocalIpAddress(server, b"127.0.0.1")

    def attribute(text: str) -> ctypes.c_void_p:
        return ctypes.c_void_p(lib.IedModel_getModelNodeByObjectReference(model, text.encode()))

    def put(points: list[int], numbers: list[int], tag: int) -> None:
        lib.IedServer_lockDataModel(server)
        for point, number in zip(points, numbers, strict=True):
            lib.IedServer_updateUTCTimeAttributeValue(server, times[point], ctypes.c_uint64(tag))
            lib.IedServer_updateFloatAttributeValue(server, values[point], ctypes.c_float(number))
        lib.IedServer_unlockDataModel(server)

    names = [f"SOAKLD0/GGIO1.AnIn{number}" for number in range(1, given.points + 1)]
    values = [attribute(f"{name}.mag.f") for name in names]
    times = [attribute(f"{name}.t") for name in names]
    true, everything = pace.now()[1], np.arange(given.points)
    put(everything.tolist(), ledger.state(everything, true).tolist(), true)
    lib.IedServer_start(server, given.port)
    if not lib.IedServer_isRunning(server):
        raise SystemExit("the IED cannot listen")
    obey(pace)
    ready()
    while True:
        points = pace.due()
        if len(points):
            tag, true = pace.now()
            put(points.tolist(), ledger.change(points, tag, true).tolist(), tag)
        time.sleep(TICK_S)


if __name__ == "__main__":
    main()
