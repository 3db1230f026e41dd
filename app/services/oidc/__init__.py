"""Staff sign in by their organisation's own identity provider (OpenID Connect). Why so: decision 0035."""
