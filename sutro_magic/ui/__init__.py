"""What a person looks at: tables, progress, and the words around them."""
