-- name: listen
LISTEN outbox
