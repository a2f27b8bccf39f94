/** Version of the shape of reports (schema.ts): raised when a field changes its meaning or goes away. */
export const REPORT_SCHEMA_VERSION = 1;
