"""Products straight from packed ternary weights: `cpu` (C++, built on first use), `plain` (torch, anywhere, slower), `choice` (which one runs here)."""
