//! Checkpoints from the Hugging Face hub.
