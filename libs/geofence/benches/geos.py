#!/usr/bin/env python3
"""GEOS on the same points as `cargo bench -p porchlight-geofence`: each prepared polygon is asked for all points in its
box, through shapely, which hands whole arrays to C. (shapely's own STR tree prepares the points, not the polygons.)

    python3 -m venv .dev/geos && .dev/geos/bin/pip install shapely && .dev/geos/bin/python libs/geofence/benches/geos.py
"""

import csv
import gzip
import json
import pathlib
import time

import numpy
import shapely

HERE = pathlib.Path(__file__).resolve().parent.parent
ROUNDS = 5


def main():
    document = json.loads((HERE / "../synth/data/boston.geojson").read_text())
    polygons = [shapely.from_geojson(json.dumps(feature["geometry"])) for feature in document["features"]]
    shapely.prepare(polygons)
    with gzip.open(HERE / "tests/data/truth-boston.csv.gz", "rt") as file:
        rows = list(csv.DictReader(file))
    mixed = numpy.array([(int(row["lon_e7"]) / 1e7, int(row["lat_e7"]) / 1e7) for row in rows])
    west, south, east, north = shapely.total_bounds(polygons)
    random = numpy.random.default_rng(1).uniform((west, south), (east, north), (1_000_000, 2))

    print(f"GEOS {shapely.geos_version_string} by shapely {shapely.__version__}, prepared polygons, Boston")
    for name, points in (("random", random), ("mixed", mixed)):
        best = min(timed(lambda: list(owners(polygons, points))) for _ in range(ROUNDS))
        print(f"  {name}: {len(points) / best / 1e6:.2f} million points a second of CPU time")
    found = [set() for _ in rows]
    for polygon, held in enumerate(owners(polygons, mixed)):
        for point in held:
            found[point].add(str(polygon))
    wrong = sum(ours != set(filter(None, row["features"].split(";"))) for ours, row in zip(found, rows))
    print(f"  wrong answers: {wrong} of {len(rows)}")


def owners(polygons, points):
    """For each polygon the numbers of the points that it holds, its border included."""
    x, y = points[:, 0], points[:, 1]
    for polygon in polygons:
        west, south, east, north = polygon.bounds
        near = numpy.flatnonzero((x >= west) & (x <= east) & (y >= south) & (y <= north))
        yield near[shapely.intersects_xy(polygon, x[near], y[near])]


def timed(run):
    before = time.process_time()
    run()
    return time.process_time() - before


if __name__ == "__main__":
    main()
