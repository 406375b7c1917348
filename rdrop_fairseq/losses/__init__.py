"""The R-Drop loss as functions of tensors; nothing here knows fairseq."""
