"""Operations on whole frames without I/O: find and fill holes, add rows, summarise draws."""
