"""Unpacks what helm/checks needs: the reader of YAML, and the strict schemas of some Kubernetes minors. unpack.py WHEELS TARGET"""

import json
import pathlib
import sys
import zipfile

# The oldest that the chart takes (kubeVersion in Chart.yaml), one in the middle, the newest there is.
MINORS = ["1.31.0", "1.34.0", "1.37.0"]

wheels, target = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
zipfile.ZipFile(next(wheels.glob("[Pp]y[Yy][Aa][Mm][Ll]*.whl"))).extractall(target / "python")
with zipfile.ZipFile(next(wheels.glob("kubernetes_validate*.whl"))) as wheel:
    for minor in MINORS:
        folder = f"kubernetes_validate/kubernetes-json-schema/v{minor}-local-strict/"
        names = [name for name in wheel.namelist() if name.startswith(folder)]
        assert names, f"no schemas of {minor}"
        (target / "schemas" / f"v{minor}").mkdir(parents=True)
        for name in names:
            # Their references are absolute paths of a server; kubeconform finds them as files beside each other.
            schema = json.loads(wheel.read(name).decode().replace('"/api/_definitions.json', '"_definitions.json'))
            schema.pop("$id", None)
            (target / "schemas" / f"v{minor}" / pathlib.Path(name).name).write_text(json.dumps(schema))
