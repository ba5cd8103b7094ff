"""Models of accuracy: fitted to R sets of labels at a time, each as if it were alone."""
