// A Modbus TCP device: holding register 0 is 50 (Hz), input registers 0 and 1 are 1520.0 (W, float); coil 10 is a
// switch, read back as discrete input 10; holding register 99 is refused. Ends when its standard input ends.
const { ServerTCP } = require("modbus-serial");

const port = Number(process.argv[process.argv.length - 1]);
const power = Buffer.alloc(4);
power.writeFloatBE(1520);
let closed = true;

new ServerTCP(
  {
    getHoldingRegister: (address) => {
      if (address === 99) throw { modbusErrorCode: 0x02, msg: "no such register" };
      return 50;
    },
    getInputRegister: (address) => power.readUInt16BE(2 * (address % 2)),
    getCoil: () => closed,
    getDiscreteInput: () => closed,
    setCoil: (address, value) => {
      if (address !== 10) throw { modbusErrorCode: 0x02, msg: "no such coil" };
      closed = value;
    },
  },
  { host: "127.0.0.1", port, unitID: 1 },
).on("initialized", () => console.log(JSON.stringify({ ready: true })));
process.stdin.on("end", () => process.exit(0)).resume();
