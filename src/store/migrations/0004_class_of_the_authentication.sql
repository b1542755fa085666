-- The class of the authentication as the user's provider names it (`acr`); empty if it names none.
ALTER TABLE sessions ADD COLUMN acr TEXT NOT NULL DEFAULT '';
