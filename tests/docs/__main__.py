"""`python -m tests.docs`: renews what is generated in README.md."""

from tests.docs import fields

if __name__ == "__main__":
    fields.README.write_text(fields.renewed(), encoding="utf-8")
