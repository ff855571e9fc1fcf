"""What a model's scores gain from Cascade where features are late, and what augmentation gives."""
