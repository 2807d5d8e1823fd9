module porchlight.invalid/geofence-s2

go 1.23.0

require github.com/golang/geo v0.0.0-20260818125358-b200a1149890
