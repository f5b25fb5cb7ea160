module capscache.io/go/examples/drivers

go 1.19

require capscache.io/go v0.0.0

replace capscache.io/go => ../../bindings/go
