-- Reads which connections are paused.
--
-- Returns two for each: connection, and why (JSON with code, message, remedy, since).

return call('HGETALL', PAUSED)
