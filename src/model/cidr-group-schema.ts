/** The fields of a CiliumCIDRGroup (cilium.io/v2), once: for the reader of manifests and for the generated definition. */
import { list, object, text } from "../lib/schema.ts";

export const cidrGroupSpecSchema = object(
  {
    externalCIDRs: list(text({ maxLength: 49, pattern: "^[0-9a-fA-F:.]+(/[0-9]{1,3})?$" }), {
      description: "blocks outside of the cluster, address/length",
    }),
  },
  { required: ["externalCIDRs"] },
);
