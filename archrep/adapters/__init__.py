"""archrep inside other tools: their interfaces over our searches and models."""
