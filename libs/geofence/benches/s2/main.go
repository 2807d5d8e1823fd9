// S2's shape index on the same points as `cargo bench -p porchlight-geofence`, by its Go port: one index of all polygons,
// one query that keeps its iterator, as its documentation advises. S2's edges are geodesics, and its answers are those of
// other polygons: between two vertices some points lie on another side.
//
//	cd libs/geofence/benches/s2 && go run .
package main

import (
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"log"
	"math/rand"
	"os"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/golang/geo/s1"
	"github.com/golang/geo/s2"
)

const rounds = 5

type document struct {
	Features []struct {
		Geometry struct {
			Type        string
			Coordinates json.RawMessage
		}
	}
}

func main() {
	polygons := read("../../../synth/data/boston.geojson")
	index := s2.NewShapeIndex()
	bounds := s2.EmptyRect()
	for _, polygon := range polygons {
		index.Add(polygon)
		bounds = bounds.Union(polygon.RectBound())
	}
	index.Build()
	mixed, wanted := truth("../../tests/data/truth-boston.csv.gz")
	source := rand.New(rand.NewSource(1))
	random := make([]s2.Point, 1_000_000)
	for n := range random {
		lat := bounds.Lat.Lo + source.Float64()*bounds.Lat.Length()
		lng := bounds.Lng.Lo + source.Float64()*bounds.Lng.Length()
		random[n] = s2.PointFromLatLng(s2.LatLng{Lat: s1.Angle(lat), Lng: s1.Angle(lng)})
	}

	fmt.Println("S2 shape index by github.com/golang/geo, Boston")
	query := s2.NewContainsPointQuery(index, s2.VertexModelSemiOpen)
	for _, set := range []struct {
		name   string
		points []s2.Point
	}{{"random", random}, {"mixed", mixed}} {
		best := time.Duration(1 << 62)
		for range rounds {
			before, found := cpu(), 0
			for _, point := range set.points {
				found += len(query.ContainingShapes(point))
			}
			best = min(best, cpu()-before)
		}
		fmt.Printf("  %s: %.2f million points a second of CPU time\n", set.name, float64(len(set.points))/best.Seconds()/1e6)
	}
	number := map[s2.Shape]int{}
	for n, polygon := range polygons {
		number[polygon] = n
	}
	wrong := 0
	for n, point := range mixed {
		var names []string
		for _, shape := range query.ContainingShapes(point) {
			names = append(names, strconv.Itoa(number[shape]))
		}
		sort.Strings(names)
		if strings.Join(names, ";") != wanted[n] {
			wrong++
		}
	}
	fmt.Printf("  wrong answers: %d of %d\n", wrong, len(mixed))
}

// read makes a polygon of each feature: of its rings, whatever part they are of.
func read(path string) []*s2.Polygon {
	bytes, err := os.ReadFile(path)
	check(err)
	var all document
	check(json.Unmarshal(bytes, &all))
	var polygons []*s2.Polygon
	for _, feature := range all.Features {
		var parts [][][][2]float64
		if feature.Geometry.Type == "Polygon" {
			parts = make([][][][2]float64, 1)
			check(json.Unmarshal(feature.Geometry.Coordinates, &parts[0]))
		} else {
			check(json.Unmarshal(feature.Geometry.Coordinates, &parts))
		}
		var loops []*s2.Loop
		for _, part := range parts {
			for _, ring := range part {
				var points []s2.Point
				for _, at := range ring[:len(ring)-1] {
					points = append(points, s2.PointFromLatLng(s2.LatLngFromDegrees(at[1], at[0])))
				}
				loop := s2.LoopFromPoints(points)
				loop.Normalize()
				loops = append(loops, loop)
			}
		}
		polygons = append(polygons, s2.PolygonFromLoops(loops))
	}
	return polygons
}

func truth(path string) (points []s2.Point, owners []string) {
	file, err := os.Open(path)
	check(err)
	unzipped, err := gzip.NewReader(file)
	check(err)
	rows, err := csv.NewReader(unzipped).ReadAll()
	check(err)
	column := map[string]int{}
	for n, name := range rows[0] {
		column[name] = n
	}
	degrees := func(text string) float64 {
		e7, err := strconv.ParseInt(text, 10, 64)
		check(err)
		return float64(e7) / 1e7
	}
	for _, row := range rows[1:] {
		at := s2.LatLngFromDegrees(degrees(row[column["lat_e7"]]), degrees(row[column["lon_e7"]]))
		points = append(points, s2.PointFromLatLng(at))
		names := strings.FieldsFunc(row[column["features"]], func(r rune) bool { return r == ';' })
		sort.Strings(names)
		owners = append(owners, strings.Join(names, ";"))
	}
	return points, owners
}

func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
