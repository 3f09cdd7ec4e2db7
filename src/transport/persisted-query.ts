/** The message by which clients with automatic persisted queries know that they have to send the text of a query. */
export const NOT_PERSISTED = 'PersistedQueryNotSupported';
