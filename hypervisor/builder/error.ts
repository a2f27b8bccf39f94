/** A domain that cannot be built as asked: one line for the person who wrote the configuration. */
export class BuilderError extends Error {
  override name = "BuilderError";
}
