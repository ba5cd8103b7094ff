"""Official and published files of benchmarks, turned into tables; nothing in a file is executed."""
