/**
 * The store that the simulator and the tests of core use is one: see its contract.
 *
 * @module
 */

import { SimulatedPlace } from "../lab/simulation/simulated_place.ts";
import {
  fullStoreContract,
  nearlyFullStoreContract,
  pureTest,
  storeContract,
} from "./store_contract.ts";

storeContract("SimulatedStore", () => new SimulatedPlace(), pureTest);
fullStoreContract("SimulatedStore", () => new SimulatedPlace(), pureTest);
nearlyFullStoreContract(
  "SimulatedStore",
  () => new SimulatedPlace("kept without new tasks"),
  pureTest,
);
