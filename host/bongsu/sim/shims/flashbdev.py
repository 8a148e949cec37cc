"""flashbdev, frozen in ESP32 images: the partition that holds the file system."""

bdev = None
