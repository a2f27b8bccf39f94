/**
 * An error that the user can mend: its message is one clear line, and the command ends with `exitCode` and no stack trace.
 * Whatever else is thrown is a fault of Xenoscope itself.
 */
export class UserError extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode = 1) {
    super(message);
    this.name = "UserError";
    this.exitCode = exitCode;
  }
}
