-- Asks the workers something about a connection: a control entry, exempt from pauses and limits.
--
-- ARGV[1]  the question (JSON: id, kind, connection)
-- Returns 'no_worker' when none is alive: nothing was asked; else 'asked'.
-- A question that nobody takes, or whose worker dies, is asked again by its asker or forgotten: the list is capped.

if live_workers() == 0 then return 'no_worker' end
call('RPUSH', P .. ':asked', ARGV[1])
call('LTRIM', P .. ':asked', -1000, -1)
call('PUBLISH', KICK, '')
return 'asked'
