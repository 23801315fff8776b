-- Reads the settings that the leading worker published last.
--
-- Returns JSON, false when nothing was ever published.

return call('HGET', P .. ':settings', 'settings')
