/** What holds until the machine boots again, kept beside the agent's socket for agents after this one and for `tandem wait`. */
import { bootFile, bootId, type BootMarks, encodeMarks, readMarks } from "../api/boot-file.ts";
import { messageOf } from "../lib/errors.ts";
import type { Logger } from "../model/logging.ts";
import { replaceFile } from "./durable-file.ts";

export interface BootMarksStore {
  /** `noMarks` after a boot. */
  read(): Promise<BootMarks>;
  /** Never fails: whoever waits for what could not be written waits until their own time is over. */
  write(marks: BootMarks): Promise<void>;
}

/** @param socket of the agent */
export function bootMarksBeside(socket: string, log: Logger): BootMarksStore {
  const boot = bootId();
  const file = bootFile(socket);
  return {
    read: () => readMarks(socket, boot),
    write: (marks) =>
      replaceFile(file, encodeMarks(boot, marks)).catch((error: unknown) =>
        log.warn({ file, error: messageOf(error) }, "what holds for this boot is not remembered"),
      ),
  };
}
