"""Translation between the generated English and a generated language with Romanian letters and grammar."""
