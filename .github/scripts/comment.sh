#!/bin/sh
# comment.sh <owner/repository> <number> <file>: writes the file as a comment on a pull request, in the place of the one
# that an earlier run has left; it is found by its first line. Needs gh, and GH_TOKEN with pull-requests: write.
set -eu
repository=$1 number=$2 file=$3
IFS= read -r marker < "$file"
comments="repos/$repository/issues"
found=$(gh api --paginate "$comments/$number/comments" \
  --jq ".[] | select(.user.type == \"Bot\" and (.body | startswith(\"$marker\"))) | .id")
first=${found%%[!0-9]*}
if [ -n "$first" ]; then
  gh api --method PATCH "$comments/comments/$first" --field "body=@$file" --silent
else
  gh api --method POST "$comments/$number/comments" --field "body=@$file" --silent
fi
