
BPlus214_Output_0J(ˆÃãÓ°C§ßrEaõ(E$¸¦Å®?Å€¦ÅXOåEÖå›Äâ«&Ã