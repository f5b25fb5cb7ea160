module capscache.io/go

go 1.19
