"""The quantization types, one file per family; the registry imports every file here. None imports torch at the top."""
