"""Images: real and unreal, in memory, split and augmented on the device where they are used."""
