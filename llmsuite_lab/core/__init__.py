"""Ground floor: runtime, model zoo, language model, training, metrics, plots. Knows nothing of the course's topics."""
